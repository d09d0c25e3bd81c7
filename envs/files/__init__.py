"""Files of data: their records, whatever the file's form, and the conversations, traces and pairs in them."""
