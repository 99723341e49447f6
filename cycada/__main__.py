"""``python -m cycada``, the form that ``accelerate launch -m cycada`` starts."""

from cycada.cli import main

if __name__ == "__main__":
    main()
