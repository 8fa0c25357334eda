/* port_leak: keeps UDP sockets bound to free ports of the loopback interface. Reads commands, a line each: `leak N` binds
 * until N more are held or a bind fails, `return N` closes N. Each is answered with how many are held, and the number of
 * the error or 0. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 1000

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int sockets[MOST], held = 0, error = 0, count;
    char command[16];

    while (scanf("%15s %d", command, &count) == 2) {
        error = 0;
        for (; !strcmp(command, "leak") && count && held < MOST; count--) {
            sockets[held] = socket(AF_INET, SOCK_DGRAM, 0);
            if (bind(sockets[held], (struct sockaddr *)&address, sizeof(address))) {
                error = errno;
                close(sockets[held]);
                break;
            }
            held++;
        }
        for (; !strcmp(command, "return") && count && held; count--)
            close(sockets[--held]);
        printf("%d %d\n", held, error);
        fflush(stdout);
    }
    return 0;
}
