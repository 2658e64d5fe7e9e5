# lookup.sh PID NAME PROBE MUSL: looks a name up with each of the resolvers that people
# have, as the container would whose first process that is. It runs in the container's
# network and in mounts of its own. A line for each resolver: its name, how it ended, and
# what it said.
set -eu
root=/proc/$1/root name=$2 probe=$3 musl=$4
mount -t tmpfs tmpfs /mnt
for file in resolv.conf hosts; do
	cat "$root/etc/$file" >"/mnt/$file"
	mount --bind "/mnt/$file" "/etc/$file"
done

ask() {
	kind=$1 code=0
	shift
	said=$("$@" 2>&1) || code=$?
	echo "$kind $code $(echo "$said" | tr '\n' ' ')"
}
ask go "$probe" lookup "$name"
ask glibc getent ahosts "$name"
ask musl "$musl" "$name"
nslookup() { /bin/busybox nslookup "$1" | sed 1,2d; } # without the server's own address
ask busybox nslookup "$name"
set -- +time=5 +tries=1 +noall +comments +answer "$name" A "$name" AAAA
ask dig dig "$@"
ask dig-tcp dig +tcp "$@"
