"""What pages are made of: models that give lines, and the one widget that shows them."""
