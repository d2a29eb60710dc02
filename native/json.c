#include "json.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The length of the valid UTF-8 sequence at `text`, or 0. */
static size_t sequence(const unsigned char *text)
{
	static const struct {
		unsigned char mask, mark;
		uint32_t least;
	} forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};

	for (size_t length = 1; length <= 4; length++) {
		if ((text[0] & forms[length - 1].mask) != forms[length - 1].mark)
			continue;
		uint32_t point = text[0] & (unsigned char)~forms[length - 1].mask;
		for (size_t i = 1; i < length; i++) {
			if ((text[i] & 0xC0) != 0x80)
				return 0;
			point = point << 6 | (text[i] & 0x3F);
		}
		bool valid = point >= forms[length - 1].least && point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
		return valid ? length : 0;
	}
	return 0;
}

/* One character of `text` as it stands in a JSON string; sets how many bytes it took. */
static const char *escape(const unsigned char *text, size_t *taken, char scratch[8])
{
	static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	size_t length = sequence(text);
	const char *special = strchr(plain, *text);

	*taken = length ? length : 1;
	if (!length)
		return "\\ufffd";
	if (special) {
		snprintf(scratch, 8, "\\%c", letters[special - plain]);
	} else if (*text < 0x20 || *text == 0x7F) {
		snprintf(scratch, 8, "\\u%04x", (unsigned)*text);
	} else {
		memcpy(scratch, text, length);
		scratch[length] = '\0';
	}
	return scratch;
}

size_t json_quote(char *out, size_t size, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t used = 0;
	char scratch[8];

	out[used++] = '"';
	while (*at) {
		size_t taken;
		const char *piece = escape(at, &taken, scratch);
		size_t length = strlen(piece);
		if (used + length + 2 > size)
			break;
		memcpy(out + used, piece, length);
		used += length;
		at += taken;
	}
	out[used++] = '"';
	out[used] = '\0';
	return used;
}

static size_t put_point(char *out, uint32_t point)
{
	if (point < 0x80) {
		out[0] = (char)point;
		return 1;
	}
	if (point < 0x800) {
		out[0] = (char)(0xC0 | point >> 6);
		out[1] = (char)(0x80 | (point & 0x3F));
		return 2;
	}
	if (point < 0x10000) {
		out[0] = (char)(0xE0 | point >> 12);
		out[1] = (char)(0x80 | (point >> 6 & 0x3F));
		out[2] = (char)(0x80 | (point & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | point >> 18);
	out[1] = (char)(0x80 | (point >> 12 & 0x3F));
	out[2] = (char)(0x80 | (point >> 6 & 0x3F));
	out[3] = (char)(0x80 | (point & 0x3F));
	return 4;
}

static uint32_t hex4(const char *digits)
{
	char text[5] = {0};

	strncpy(text, digits, 4);
	return (uint32_t)strtoul(text, NULL, 16);
}

/* The code point of `\uXXXX`, or of a surrogate pair of them; `*at` is at the first digit and moves past the last. */
static uint32_t unicode_escape(const char **at)
{
	uint32_t point = hex4(*at);

	*at += strnlen(*at, 4);
	if (point >> 10 == 0x36 && (*at)[0] == '\\' && (*at)[1] == 'u') {
		point = 0x10000 + ((point & 0x3FF) << 10) + (hex4(*at + 2) & 0x3FF);
		*at += 2 + strnlen(*at + 2, 4);
	}
	return point;
}

char *json_plain(char *out, size_t size, const char *quoted)
{
	static const char letters[] = "bfnrt", plain[] = "\b\f\n\r\t";
	size_t used = 0;
	const char *at = quoted + (*quoted == '"');

	while (*at && *at != '"' && used + 5 < size) {
		if (*at != '\\' || !at[1]) {
			out[used++] = *at++;
			continue;
		}
		char letter = at[1];
		const char *known = strchr(letters, letter);
		at += 2;
		if (letter == 'u')
			used += put_point(out + used, unicode_escape(&at));
		else
			out[used++] = known ? plain[known - letters] : letter;
	}
	out[used] = '\0';
	return out;
}

static void new_line(FILE *to, int level)
{
	fprintf(to, "\n%*s", 2 * level, "");
}

void json_print(FILE *to, const char *json, int level)
{
	bool in_text = false;

	for (const char *at = json; *at; at++) {
		char c = *at;
		if (in_text) {
			putc(c, to);
			if (c == '\\' && at[1])
				putc(*++at, to);
			else if (c == '"')
				in_text = false;
		} else if (c == '"') {
			in_text = true;
			putc(c, to);
		} else if (c == '{' || c == '[') {
			putc(c, to);
			at += strspn(at + 1, " \t\r\n");
			if (at[1] != '}' && at[1] != ']')
				new_line(to, ++level);
			else
				putc(*++at, to);
		} else if (c == '}' || c == ']') {
			new_line(to, --level);
			putc(c, to);
		} else if (c == ',') {
			putc(c, to);
			new_line(to, level);
		} else if (c == ':') {
			fputs(": ", to);
		} else if (!strchr(" \t\r\n", c)) {
			putc(c, to);
		}
	}
}
