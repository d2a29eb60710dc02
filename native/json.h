/* The little JSON that verbs and logs write; nothing here parses a document. */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* Write `text` as a JSON string with its quotes, cut so that it fits; bytes that are no UTF-8 become U+FFFD. Returns
 * the length. `size` is at least 3. */
size_t json_quote(char *out, size_t size, const char *text);

/* The plain text of a JSON string with its quotes; "" gives "". Returns `out`. */
char *json_plain(char *out, size_t size, const char *quoted);

/* Print a valid JSON text indented by two spaces a level, its first line at the place where the cursor is and the others
 * `level` levels in. */
void json_print(FILE *to, const char *json, int level);
