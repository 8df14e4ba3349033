"""Images: access to their files, decoding in confined processes, pixels, thumbnails, EXIF."""
