"""What a user starts: the demo, and stages as processes of their own."""
