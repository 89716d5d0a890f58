/* Static inlines of libdpdk as linkable functions: one call per burst, none per packet. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

#include <rte_cycles.h>

struct gw_mbuf_layout gw_mbuf_layout(void)
{
	const struct rte_mbuf mbuf = { .l2_len = 1, .l3_len = 2, .l4_len = 3, .tso_segsz = 4 };

	return (struct gw_mbuf_layout){
		.size = sizeof(struct rte_mbuf),
		.buf_addr = offsetof(struct rte_mbuf, buf_addr),
		.data_off = offsetof(struct rte_mbuf, data_off),
		.refcnt = offsetof(struct rte_mbuf, refcnt),
		.nb_segs = offsetof(struct rte_mbuf, nb_segs),
		.ol_flags = offsetof(struct rte_mbuf, ol_flags),
		.pkt_len = offsetof(struct rte_mbuf, pkt_len),
		.data_len = offsetof(struct rte_mbuf, data_len),
		.buf_len = offsetof(struct rte_mbuf, buf_len),
		.pool = offsetof(struct rte_mbuf, pool),
		.next = offsetof(struct rte_mbuf, next),
		.tx_offload = offsetof(struct rte_mbuf, tx_offload),
		.lengths = mbuf.tx_offload,
	};
}

size_t gw_sizeof_eth_conf(void)
{
	return sizeof(struct rte_eth_conf);
}

size_t gw_sizeof_eth_dev_info(void)
{
	return sizeof(struct rte_eth_dev_info);
}

size_t gw_sizeof_eth_stats(void)
{
	return sizeof(struct rte_eth_stats);
}

size_t gw_sizeof_eth_xstat(void)
{
	return sizeof(struct rte_eth_xstat);
}

size_t gw_sizeof_eth_xstat_name(void)
{
	return sizeof(struct rte_eth_xstat_name);
}

uint16_t gw_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **into, uint16_t room)
{
	return rte_eth_rx_burst(port, queue, into, room);
}

uint16_t gw_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **from, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, from, count);
}

static _Atomic(void (*)(void)) pdump_wait;

void gw_set_pdump_wait(void (*wait)(void))
{
	atomic_store(&pdump_wait, wait);
}

/*
 * librte_pdump unhooks a queue's copying and answers at once. dpdk-dumpcap then frees the ring and the pool that the
 * copies went to, while a worker may be in the midst of a burst of them: it would write to memory that is somebody
 * else's by then, or nobody's. (Later releases count who is inside, and wait.) This definition stands before
 * librte_eal's for every library of the process, and holds such an answer back.
 */
int rte_mp_reply(struct rte_mp_msg *msg, const char *peer)
{
	static _Atomic(int (*)(struct rte_mp_msg *, const char *)) next;
	int (*reply)(struct rte_mp_msg *, const char *) = atomic_load(&next);
	void (*wait)(void) = atomic_load(&pdump_wait);

	if (reply == NULL) {
		*(void **)&reply = dlsym(RTLD_NEXT, "rte_mp_reply");
		atomic_store(&next, reply);
	}
	if (reply == NULL) {
		rte_errno = ENOTSUP;
		return -1;
	}
	if (wait != NULL && msg != NULL && strcmp(msg->name, "mp_pdump") == 0)
		wait();
	return reply(msg, peer);
}

struct rte_mbuf *gw_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int gw_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **into, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, into, count);
}

void gw_pktmbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

uint32_t gw_mempool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

uint16_t gw_pktmbuf_data_room(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

uint64_t gw_rdtsc(void)
{
	return rte_rdtsc();
}

int gw_errno(void)
{
	return rte_errno;
}

uint32_t gw_lcore_id(void)
{
	return rte_lcore_id();
}

/* The cookie is a pointer to the function's pointer: ISO C has no cast between the two kinds. */
static gw_log_line log_line;

static ssize_t log_write(void *cookie, const char *bytes, size_t count)
{
	gw_log_line *line = cookie;

	(*line)(bytes, count);
	return count;
}

FILE *gw_log_stream(gw_log_line line)
{
	cookie_io_functions_t calls = { .write = log_write };

	log_line = line;
	return fopencookie(&log_line, "w", calls);
}

int gw_lpm_lookup(const struct rte_lpm *lpm, uint32_t address, uint32_t *next_hop)
{
	return rte_lpm_lookup(lpm, address, next_hop);
}

void gw_lpm_lookup_bulk(const struct rte_lpm *lpm, const uint32_t *addresses, uint32_t *next_hops,
			unsigned int count)
{
	rte_lpm_lookup_bulk(lpm, addresses, next_hops, count);
}

int gw_vhost_regions(int vid, struct gw_vhost_region *into, unsigned int room)
{
	struct rte_vhost_memory *memory = NULL;
	uint32_t i, count;

	if (rte_vhost_get_mem_table(vid, &memory) != 0 || memory == NULL)
		return -1;
	count = memory->nregions < room ? memory->nregions : room;
	for (i = 0; i < count; i++) {
		into[i].start = memory->regions[i].mmap_addr;
		into[i].bytes = memory->regions[i].mmap_size;
	}
	free(memory);
	return count;
}
