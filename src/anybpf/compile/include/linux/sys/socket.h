/* sys/socket.h: address families and socket kinds that programs compare with. */
#ifndef ANYBPF_SYS_SOCKET_H
#define ANYBPF_SYS_SOCKET_H

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_VSOCK 40

#define PF_INET AF_INET
#define PF_INET6 AF_INET6

#define SOL_SOCKET 1
#define SOL_IP 0
#define SOL_IPV6 41
#define SOL_TCP 6
#define SOL_UDP 17

#ifndef __VMLINUX_H__
enum { SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_RAW = 3, SOCK_SEQPACKET = 5 };

struct sockaddr {
    unsigned short sa_family;
    char sa_data[14];
};
#endif

#endif
