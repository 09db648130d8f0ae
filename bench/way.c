/* way: a path with delay, limited bandwidth and loss, between two tun devices.

   way FD FD DELAY_US BITS_PER_SECOND LOSS_PPM ROOM_BYTES

   Both descriptors are inherited. Each direction is a queue of ROOM_BYTES before a transmitter
   of that rate; packets that do not fit are dropped. After it, LOSS_PPM of a million packets are lost,
   pseudo-randomly and the same in each run; the rest arrives DELAY_US later. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PACKETS = 1 << 14, LONGEST = 1600 };

static int64_t delay, rate, loss, room; /* nanoseconds, bits a second, of a million, bytes */

struct direction {
    int from, to;
    int64_t idle; /* when the transmitter will be idle */
    uint64_t chance;
    unsigned first, last; /* sequence numbers of the packets in flight */
    struct { int64_t due; int length; char bytes[LONGEST]; } *under_way;
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int is_lost(struct direction *way) { /* xorshift64 */
    way->chance ^= way->chance << 13, way->chance ^= way->chance >> 7, way->chance ^= way->chance << 17;
    return (int64_t)(way->chance % 1000000) < loss;
}

static void take(struct direction *way) {
    for (;;) {
        int64_t time = now();
        unsigned slot = way->last % PACKETS;
        int length = read(way->from, way->under_way[slot].bytes, LONGEST);
        if (length < 0 && errno != EAGAIN) perror("way"), exit(1);
        if (length <= 0) return;
        if (way->idle < time) way->idle = time;
        if ((way->idle - time) * rate / 8000000000LL + length > room) continue; /* the queue is full */
        way->idle += length * 8000000000LL / rate;
        if (is_lost(way) || way->last - way->first == PACKETS - 1) continue;
        way->under_way[slot].due = way->idle + delay;
        way->under_way[slot].length = length;
        way->last++;
    }
}

/* Deliver the packets that are due; returns when the next one is. */
static int64_t give(struct direction *way) {
    for (; way->first != way->last; way->first++) {
        unsigned slot = way->first % PACKETS;
        if (way->under_way[slot].due > now()) return way->under_way[slot].due;
        (void)!write(way->to, way->under_way[slot].bytes, way->under_way[slot].length);
    }
    return INT64_MAX;
}

int main(int count, char **words) {
    if (count != 7) return fputs("way FD FD DELAY_US BITS_PER_SECOND LOSS_PPM ROOM_BYTES\n", stderr), 2;
    int one = atoi(words[1]), other = atoi(words[2]);
    delay = atoll(words[3]) * 1000, rate = atoll(words[4]), loss = atoll(words[5]), room = atoll(words[6]);
    struct direction ways[2] = {{.from = one, .to = other, .chance = 0x9e3779b97f4a7c15},
                                {.from = other, .to = one, .chance = 0xbf58476d1ce4e5b9}};
    for (int i = 0; i < 2; i++)
        if (!(ways[i].under_way = calloc(PACKETS, sizeof *ways[i].under_way))) return perror("way"), 1;
    for (;;) {
        int64_t due = INT64_MAX, left;
        for (int i = 0; i < 2; i++) {
            int64_t next = give(&ways[i]);
            if (next < due) due = next;
        }
        left = due - now();
        struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        struct pollfd ready[] = {{.fd = one, .events = POLLIN}, {.fd = other, .events = POLLIN}};
        if (left > 0 && ppoll(ready, 2, due == INT64_MAX ? 0 : &wait, 0) < 0) perror("way"), exit(1);
        for (int i = 0; i < 2; i++) take(&ways[i]);
    }
}
