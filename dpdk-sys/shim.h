/* What Rust is allowed to see of libdpdk, and the names of shim.c. See build.rs for the lists. */
#ifndef GUESTWAY_SHIM_H
#define GUESTWAY_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_fib.h>
#include <rte_hash.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_lpm.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_pdump.h>
#include <rte_version.h>
#include <rte_vhost.h>

/* Constants that the headers write as casts or shifts, which bindgen doesn't evaluate. */
static const uint64_t GW_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t GW_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t GW_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t GW_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t GW_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t GW_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t GW_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t GW_RSS_IP_TCP_UDP = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint64_t GW_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t GW_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t GW_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t GW_RX_LRO = RTE_MBUF_F_RX_LRO;
static const uint64_t GW_TX_OFFLOAD_MASK = RTE_MBUF_F_TX_OFFLOAD_MASK;
static const uint64_t GW_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t GW_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;
static const uint64_t GW_TX_TCP_SEG = RTE_MBUF_F_TX_TCP_SEG;
static const uint64_t GW_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t GW_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t GW_VHOST_CLIENT = RTE_VHOST_USER_CLIENT;
static const uint64_t GW_VHOST_NO_RECONNECT = RTE_VHOST_USER_NO_RECONNECT;
static const uint64_t GW_VHOST_COMPLIANT_OFFLOAD = RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
static const uint32_t GW_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t GW_LCORE_ID_ANY = LCORE_ID_ANY;
static const uint16_t GW_PORT_ALL = RTE_ETH_ALL;

/* Size of struct rte_mbuf and offsets of the fields that Rust reads or writes, as C sees them. */
struct gw_mbuf_layout {
	size_t size;
	size_t buf_addr;
	size_t data_off;
	size_t refcnt;
	size_t nb_segs;
	size_t ol_flags;
	size_t pkt_len;
	size_t data_len;
	size_t buf_len;
	size_t pool;
	size_t next;
	size_t tx_offload;
	/* tx_offload with an l2_len of 1, an l3_len of 2, an l4_len of 3 and a tso_segsz of 4 */
	size_t lengths;
};
struct gw_mbuf_layout gw_mbuf_layout(void);

/* Sizes of the other structures that cross the border by value or in arrays. */
size_t gw_sizeof_eth_conf(void);
size_t gw_sizeof_eth_dev_info(void);
size_t gw_sizeof_eth_stats(void);
size_t gw_sizeof_eth_xstat(void);
size_t gw_sizeof_eth_xstat_name(void);

uint16_t gw_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **into, uint16_t room);
uint16_t gw_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **from, uint16_t count);

/* Has `wait` called between the end of a copy for dpdk-dumpcap and the answer that says so. */
void gw_set_pdump_wait(void (*wait)(void));

struct rte_mbuf *gw_pktmbuf_alloc(struct rte_mempool *pool);
int gw_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **into, unsigned int count);
void gw_pktmbuf_free(struct rte_mbuf *mbuf);
uint32_t gw_mempool_size(const struct rte_mempool *pool);
uint16_t gw_pktmbuf_data_room(struct rte_mempool *pool);

uint64_t gw_rdtsc(void);
int gw_errno(void);
uint32_t gw_lcore_id(void);

/* Opens a stream whose every write is given to `line`; NULL with errno set on failure. */
typedef void (*gw_log_line)(const char *bytes, size_t count);
FILE *gw_log_stream(gw_log_line line);

int gw_lpm_lookup(const struct rte_lpm *lpm, uint32_t address, uint32_t *next_hop);
void gw_lpm_lookup_bulk(const struct rte_lpm *lpm, const uint32_t *addresses, uint32_t *next_hops,
			unsigned int count);

/* A piece of a front-end's memory as the vhost library has mapped it. */
struct gw_vhost_region {
	void *start;
	uint64_t bytes;
};
/* Fills `into` with up to `room` of them; returns how many there are, negative for none such. */
int gw_vhost_regions(int vid, struct gw_vhost_region *into, unsigned int room);

#endif
