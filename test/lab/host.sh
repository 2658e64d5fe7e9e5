# Sets up a host from inside of its new namespaces, as their first process, and
# becomes its init. A line on standard input says that the cable is there.
set -eu
if [ -z "${STAGE:-}" ]; then
	mount --make-rprivate /
	read -r _
	# The control group was joined meanwhile; from here on it is the root of
	# what the host sees.
	export STAGE=2
	exec unshare --cgroup /bin/sh -c "$SCRIPT" </dev/null
fi

hostname "$NAME"
mount -t proc proc /proc

# A /run of its own: the engine's socket, the sandboxes, the plugins' sockets and
# the lock of iptables are per host, all at their usual paths.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker /run/lock

# sysfs shows the links of the network namespace that mounts it.
mount -t sysfs sysfs /sys
[ -e /sys/fs/cgroup ] && mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
printf '%s\n' "$CGROUPS" | while read -r type dir options; do
	mkdir -p "$dir"
	mount -t "$type" -o "$options" "$type" "$dir"
done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	# cgroup v2 only: a group with processes cannot hand controllers down.
	mkdir /sys/fs/cgroup/init
	echo 0 >/sys/fs/cgroup/init/cgroup.procs
	for c in $(cat /sys/fs/cgroup/cgroup.controllers); do
		echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control
	done
fi

# Folders that outlive a boot. /etc and /usr/local start as the machine's, without
# its engine's settings.
first=; [ -e "$DIR/etc" ] || first=yes
mkdir -p "$DIR/etc" "$DIR/etc.work" "$DIR/local" "$DIR/local.work" "$DIR/lib" "$DIR/opt"
mount -t overlay -o "lowerdir=/etc,upperdir=$DIR/etc,workdir=$DIR/etc.work" overlay /etc
mount -t overlay -o "lowerdir=/usr/local,upperdir=$DIR/local,workdir=$DIR/local.work" overlay /usr/local
mount --bind "$DIR/lib" /var/lib
mount --bind "$DIR/opt" /opt
if [ -n "$first" ]; then
	rm -rf /etc/docker /etc/resolv.conf /etc/hosts /etc/hostname
	echo "$NAME" >/etc/hostname
	echo "nameserver $OUTSIDE" >/etc/resolv.conf # no query leaves the lab
	printf '127.0.0.1 localhost\n::1 localhost\n%s %s\n' "$ADDRESS" "$NAME" >/etc/hosts
fi

# As on a host with systemd: a bind of /run/docker/netns then sees new sandboxes.
mount --make-rshared /

ip link set lo up
ip link set eth0 up
ip address add "$ADDRESS/24" broadcast + dev eth0
ip address add "$ADDRESS6/64" dev eth0 nodad
ip route add default via "$OUTSIDE"
ip -6 route add default via "$OUTSIDE6"
echo "$FORWARD" >/proc/sys/net/ipv4/ip_forward
echo "$FORWARD" >/proc/sys/net/ipv6/conf/all/forwarding

echo ready
exec "$INIT" -s -- sleep infinity </dev/null >/dev/null 2>&1
