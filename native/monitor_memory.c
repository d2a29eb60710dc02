/* Memory that is only kept while something happens: a machine may hold thousands of monitors, nearly all asleep. */
#include <sys/mman.h>

#include "monitor.h"

uint8_t *map_buffer(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

void unmap_buffer(uint8_t *buffer, size_t size)
{
	munmap(buffer, size);
}

void release_buffer(uint8_t *buffer, size_t size)
{
	if (buffer)
		madvise(buffer, size, MADV_DONTNEED);
}
