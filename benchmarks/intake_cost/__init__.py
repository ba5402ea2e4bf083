"""Parts of the intake benchmark."""
