/* relay: a minimal TLS 1.3 tunnel between two tun devices, as the baseline of the benchmark.

   relay listen|connect ADDRESS:PORT TUN CERTIFICATE KEY

   One thread, one connection, segmentation offload, and one batch per iteration: up to BATCH bytes
   are read from the tun, encrypted as a whole, and sent with one write. A frame is a 4-byte length (in
   host byte order: both ends are this machine) and the data read from the tun. The tun is not read
   while ciphertext is pending; the socket is always read, so two sending ends cannot deadlock. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FRAME = 4 + 10 + 65535, BATCH = 128 << 10, IN = 256 << 10 };

static void check(int good, const char *what) {
    if (!good) perror(what), ERR_print_errors_fp(stderr), exit(1);
}

static int open_tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    check(fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0, "tun");
    check(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0, "offload");
    return fd;
}

static int connection(int listens, const char *where) {
    BIO *bio = listens ? BIO_new_accept(where) : BIO_new_connect(where);
    int fd, one = 1;
    check(!listens || (BIO_do_accept(bio) == 1 && BIO_do_accept(bio) == 1), "accept");
    while (!listens && BIO_do_connect(bio) != 1) BIO_reset(bio), usleep(5000);
    BIO_get_fd(listens ? BIO_pop(bio) : bio, &fd); /* the first "accept" only bound the port */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static SSL *secured(int fd, int listens, const char *certificate, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384");
    SSL_CTX_set_default_read_buffer_len(context, IN);
    SSL_CTX_set_read_ahead(context, 1);
    check(SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) == 1 &&
          SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, "certificate");
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    check((listens ? SSL_accept(tls) : SSL_connect(tls)) == 1, "handshake");
    SSL_set0_wbio(tls, BIO_new(BIO_s_mem()));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return tls;
}

/* Encrypt one batch of packets; returns the number of pending bytes of ciphertext. */
static size_t seal(int tun, SSL *tls) {
    static char batch[BATCH + FRAME];
    int used = 0, length;
    while (used < BATCH && (length = read(tun, batch + used + 4, FRAME - 4)) > 0) {
        memcpy(batch + used, &length, 4);
        used += 4 + length;
    }
    check(used == 0 || SSL_write(tls, batch, used) == used, "seal");
    return BIO_ctrl_pending(SSL_get_wbio(tls));
}

/* Decrypt what has arrived, at most one buffer; returns whether there may be more. */
static int unseal(int tun, SSL *tls) {
    static char in[IN];
    static int used = 0;
    for (int turn = 0, length, start; turn < 16; turn++) {
        int got = SSL_read(tls, in + used, IN - used);
        if (got <= 0) {
            check(SSL_get_error(tls, got) == SSL_ERROR_WANT_READ, "the other end has closed");
            return 0;
        }
        used += got;
        for (start = 0; used - start >= 4; start += 4 + length) {
            memcpy(&length, in + start, 4);
            if (used - start < 4 + length) break;
            (void)!write(tun, in + start + 4, length);  /* a full tun drops, as any network does */
        }
        memmove(in, in + start, used -= start);
    }
    return 1;
}

int main(int count, char **words) {
    check(count == 6, "relay listen|connect ADDRESS:PORT TUN CERTIFICATE KEY");
    int listens = strcmp(words[1], "listen") == 0, tun = open_tun(words[3]);
    int fd = connection(listens, words[2]), more = 0;
    SSL *tls = secured(fd, listens, words[4], words[5]);
    char *out = 0;
    for (size_t waits = 0;;) {
        struct pollfd ready[] = {{.fd = fd, .events = POLLIN | (waits ? POLLOUT : 0)},
                                 {.fd = waits ? -1 : tun, .events = POLLIN}};
        check(poll(ready, 2, more ? 0 : -1) >= 0, "poll");
        if (more || ready[0].revents & ~POLLOUT) more = unseal(tun, tls);
        if (waits == 0 && ready[1].revents && (waits = seal(tun, tls)))
            BIO_get_mem_data(SSL_get_wbio(tls), &out);
        if (waits) {
            ssize_t sent = send(fd, out, waits, MSG_NOSIGNAL);
            check(sent >= 0 || errno == EAGAIN, "send");
            if (sent > 0) out += sent, waits -= sent;
            if (waits == 0) (void)BIO_reset(SSL_get_wbio(tls));
        }
    }
}
