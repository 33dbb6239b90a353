"""From a reel to a skill card: prediction, and the page that shows it."""
