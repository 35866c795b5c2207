"""Tar archives: layers, contexts of builds, `docker cp`, `docker save`. One reader and one writer for all of them; they know no files, only bytes."""
