"""What is seen in pictures: figures cut out, faces, letters, regions."""
