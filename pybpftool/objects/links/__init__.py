"""What links attach their progs to: one class for each type of link."""
