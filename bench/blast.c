/* blast: sends UDP datagrams at a chosen rate, and counts those that arrive.

   blast receive PORT SECONDS                   prints "ready", then the number received within SECONDS of the first
   blast send ADDRESS PORT SIZE RATE SECONDS    RATE datagrams a second; 0: as many as possible

   iperf3 makes a system call and a report for each datagram, so with small ones it measures itself. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, SIZE = 65536 };
static char payload[SIZE];
static struct iovec pieces[BATCH];
static struct mmsghdr messages[BATCH];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void prepare(size_t size) {
    for (int i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){payload, size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
}

static int receive(int fd, struct sockaddr_in *own, double seconds) {
    int room = 4 << 20;
    long count = 0;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (bind(fd, (struct sockaddr *)own, sizeof *own) != 0) return perror("bind"), 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    prepare(SIZE);
    puts("ready");
    fflush(stdout);
    if (poll(&ready, 1, 3000) > 0)
        for (double end = now() + seconds; now() < end; poll(&ready, 1, 10)) {
            int got = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, 0);
            if (got > 0) count += got;
        }
    printf("%ld\n", count);
    return 0;
}

static int flood(int fd, struct sockaddr_in *peer, size_t size, double rate, double seconds) {
    double begin = now(), sent = 0, t;
    if (connect(fd, (struct sockaddr *)peer, sizeof *peer) != 0) return perror("connect"), 1;
    prepare(size);
    while ((t = now() - begin) < seconds) {
        double due = rate > 0 ? t * rate - sent : BATCH;
        if (due < 1) {
            nanosleep(&(struct timespec){0, 50000}, 0);
            continue;
        }
        int many = due < BATCH ? due : BATCH;
        sendmmsg(fd, messages, many, 0); /* datagrams that do not fit are lost, and count as sent */
        sent += many;
    }
    return 0;
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (count == 4 && strcmp(words[1], "receive") == 0) {
        address.sin_port = htons(atoi(words[2]));
        return receive(fd, &address, atof(words[3]));
    }
    if (count == 7 && strcmp(words[1], "send") == 0) {
        inet_pton(AF_INET, words[2], &address.sin_addr);
        address.sin_port = htons(atoi(words[3]));
        return flood(fd, &address, atoi(words[4]), atof(words[5]), atof(words[6]));
    }
    fputs("usage: blast receive PORT SECONDS | blast send ADDRESS PORT SIZE RATE SECONDS\n", stderr);
    return 2;
}
