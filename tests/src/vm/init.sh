#!/usr/bin/sh
# The first process of a machine under test: brings it up as far as every test wants it, then runs what
# comes in by the second serial port and answers there.
#
# In:   ID LIMIT LINE           LINE in base64, a shell's; killed after LIMIT seconds
# Out:  ready                   once, at the end of the boot
#       ID STATUS STDOUT STDERR the last two in base64, empty where there was nothing
#
# The shell is not busybox's, which takes its own applets for the programs of the same name.
busybox=/usr/bin/busybox
port=/dev/ttyS1
export PATH=/usr/bin:/usr/busybox HOME=/

$busybox mkdir -p /dev /proc /sys /tmp /run /var /etc /usr/busybox
$busybox --install -s /usr/busybox
ln -s /run /var/run
# DPDK loads no drivers from below a directory that everybody can write to.
chmod 755 /
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t proc proc /proc
mount -t sysfs sys /sys
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1

while read -r module parameters; do
    # Several words are several parameters.
    insmod "/modules/$module" $parameters
done </modules/order
ip link set lo up

stty -F $port raw -echo
exec <$port >$port
echo
echo ready
while read -r id limit line; do
    echo "$line" | base64 -d >/tmp/line
    timeout -s KILL "$limit" /usr/bin/sh /tmp/line </dev/null >/tmp/stdout 2>/tmp/stderr
    echo "$id $? $(base64 -w 0 /tmp/stdout) $(base64 -w 0 /tmp/stderr)"
done
