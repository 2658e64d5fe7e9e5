# Sets up the outside from inside of its new namespaces, as their first process,
# and becomes its init. Its bridge is what all cables are plugged into.
set -eu
mount --make-rprivate /
read -r _
hostname "$NAME"
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys
ip link set lo up
ip link add name ubr0 mtu "$MTU" type bridge
ip address add "$ADDRESS/24" broadcast + dev ubr0
ip address add "$ADDRESS6/64" dev ubr0 nodad
ip link set ubr0 up
echo ready
exec "$INIT" -s -- sleep infinity </dev/null >/dev/null 2>&1
