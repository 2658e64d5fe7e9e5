/* lookup NAME: prints the addresses of a name as musl's resolver finds them. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all, *a;
	char text[INET6_ADDRSTRLEN];
	int err;

	if (argc != 2) {
		fprintf(stderr, "lookup: want a name\n");
		return 2;
	}
	if ((err = getaddrinfo(argv[1], NULL, &hints, &all)) != 0) {
		fprintf(stderr, "lookup: %s: %s\n", argv[1], gai_strerror(err));
		return 1;
	}
	for (a = all; a; a = a->ai_next) {
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
			return 1;
		puts(text);
	}
	freeaddrinfo(all);
	return 0;
}
