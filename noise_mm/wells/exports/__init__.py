"""What was found in wells -> files for people and programs: tables, QuPath, ImageJ, COCO, label images, a page.

`well.write_well` writes the files of one well (`formats` lists them) and gives its record; `folder.write_folder` makes
the tables and the page of a folder from the records of all its wells.
"""
