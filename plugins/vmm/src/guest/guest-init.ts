// Process 1 of the default guest: a script for busybox's shell. It knows the kernel parameters
//   runtime.check            check the devices, print what was found, power off
//   runtime.vsock=<port>     where on the host (CID 2) the check of vsock finds somebody who sends back what he gets
//   runtime.tcp=<port>       the same for the check of the network, at the address of the gateway
//   runtime.hostname=<name>

/** Lines begin with it that are meant for programs: `check <name> ok|failed|absent <detail>`, last `check done`. */
export const CHECK_PREFIX = 'check ';
/** Begins the line that says that the guest is up; what follows is the kernel's uptime in seconds. */
export const UP_PREFIX = 'runtime: guest up in ';

// Debian's busybox runs only some of its commands without links to it, which it makes itself faster than the kernel
// unpacks them.
export const GUEST_INIT = `#!/bin/sh
export PATH=/usr/bin HOME=/root TERM="\${TERM:-linux}"
/usr/bin/busybox --install -s /usr/bin 2> /dev/null
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys

param() { # name: the value of a kernel parameter
  for p in $(cat /proc/cmdline); do
    case $p in "$1="*) echo "\${p#*=}"; return 0 ;; "$1") return 0 ;; esac
  done
  return 1
}

while read -r m; do insmod "/modules/$m.ko"; done < /modules/order

read -r up rest < /proc/uptime
echo "${UP_PREFIX}$up s"

mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
hostname "$(param runtime.hostname || echo guest)"
ip link set lo up

# What is not needed for a prompt.
{
  while read -r m; do insmod "/modules/$m.ko"; done < /modules/later
  # It reads the devices there are when it starts, so the power button comes first.
  acpid -l /dev/null -p /run/acpid.pid
  : > /run/later-done
} > /run/later.log 2>&1 &
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  udhcpc -f -t 20 -T 1 -A 5 -i eth0 -s /etc/udhcpc > /run/udhcpc.log 2>&1 &
fi

if param runtime.check > /dev/null; then
  /bin/sh /etc/check
else
  echo "This is a shell in the guest; exit ends it."
  cd /root
  setsid cttyhack sh -l
fi
sync
poweroff -f
`;

export const PROFILE = `export PS1='guest:\\w# '
`;

/** What busybox's DHCP client calls, see its networking/udhcp/. */
export const UDHCPC_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/\${mask:-24}" dev "$interface"
for r in $router; do
  ip route add default via "$r" dev "$interface" && break
  # A gateway outside the subnet has to be told to be on this link.
  ip route add "$r" dev "$interface" && ip route add default via "$r" dev "$interface" && break
done
: > /etc/resolv.conf
for d in $dns; do echo "nameserver $d" >> /etc/resolv.conf; done
[ -n "$search$domain" ] && echo "search \${search:-$domain}" >> /etc/resolv.conf
: > /run/net-up
`;

/** The power button, which is how a machine is asked to stop. */
export const POWER_SCRIPT = `#!/bin/sh
sync
poweroff -f
`;

export const CHECK_SCRIPT = `#!/bin/sh
# One line per device, for programs: ${CHECK_PREFIX}<name> ok|failed|absent <detail>
say() { echo "${CHECK_PREFIX}$*"; }
param() {
  for p in $(cat /proc/cmdline); do
    case $p in "$1="*) echo "\${p#*=}"; return 0 ;; esac
  done
  return 1
}

# Writes only to a disk that says by its serial that it may be written to.
check_block() {
  any=
  for d in /sys/block/vd*; do
    [ -e "$d" ] || continue
    name=\${d##*/}
    any=1
    serial=$(cat "$d/serial" 2> /dev/null)
    if [ "$serial" != scratch ]; then
      if dd if=/dev/$name of=/dev/null bs=64k count=16 2> /run/dd; then say block ok "$name read"
      else say block failed "$name cannot be read: $(tail -n 1 /run/dd)"; fi
      continue
    fi
    sectors=$(cat "$d/size")
    count=$((sectors / 2048)); [ $count -gt 4 ] && count=4
    if [ $count -lt 1 ]; then say block failed "$name is smaller than 1 MiB"; continue; fi
    dd if=/dev/urandom of=/run/pattern bs=1M count=$count 2> /dev/null
    if dd if=/run/pattern of=/dev/$name bs=1M conv=fsync 2> /run/dd \\
      && echo 3 > /proc/sys/vm/drop_caches \\
      && dd if=/dev/$name of=/run/readback bs=1M count=$count 2>> /run/dd \\
      && cmp -s /run/pattern /run/readback
    then say block ok "$name wrote, read and compared $count MiB"
    else say block failed "$name gives back something else: $(tail -n 1 /run/dd)"; fi
    rm -f /run/pattern /run/readback
  done
  [ -n "$any" ] || say block absent "there is no disk"
}

check_net() {
  [ -e /sys/class/net/eth0 ] || { say net absent "there is no eth0"; return; }
  i=0
  while [ ! -e /run/net-up ] && [ $i -lt 100 ]; do usleep 100000; i=$((i + 1)); done
  [ -e /run/net-up ] || { say net failed "no address was given: $(tail -n 1 /run/udhcpc.log)"; return; }
  address=$(ip -4 -o addr show dev eth0 | awk '{print $4; exit}')
  gateway=$(ip route | awk '/^default/ {print $3; exit}')
  if port=$(param runtime.tcp); then
    if echoes "TCP:$gateway:$port"; then say net ok "$address, 256 KiB there and back through port $port of $gateway"
    else say net failed "$address, port $port of $gateway: $(tail -n 1 /run/socat)"; fi
    return
  fi
  # Not every gateway answers to ping, but each has to answer for its address, which the table of neighbours tells.
  ping -c 1 -W 2 "$gateway" > /dev/null 2>&1
  if awk -v g="$gateway" '$1 == g && $4 != "00:00:00:00:00:00" {found = 1} END {exit !found}' /proc/net/arp
  then say net ok "$address gateway $gateway"
  else say net failed "$address, but the gateway $gateway does not answer"; fi
}

# Sends a pattern to an address of socat, and expects it back.
echoes() {
  dd if=/dev/urandom of=/run/pattern bs=64k count=4 2> /dev/null
  timeout 20 socat -t 10 - "$1" < /run/pattern > /run/readback 2> /run/socat && cmp /run/pattern /run/readback 2>> /run/socat
  result=$?
  rm -f /run/pattern /run/readback
  return $result
}

check_rng() {
  current=$(cat /sys/class/misc/hw_random/rng_current 2> /dev/null)
  case $current in virtio_rng*) ;; *) say rng absent "there is no virtio-rng"; return ;; esac
  a=$(timeout 10 dd if=/dev/hwrng bs=32 count=1 2> /dev/null | sha256sum)
  b=$(timeout 10 dd if=/dev/hwrng bs=32 count=1 2> /dev/null | sha256sum)
  empty=$(sha256sum < /dev/null)
  if [ "$a" != "$b" ] && [ "$a" != "$empty" ] && [ "$b" != "$empty" ]; then say rng ok "$current"
  else say rng failed "$current gives no bytes, or the same twice"; fi
}

check_vsock() {
  [ -e /sys/bus/virtio/drivers/vmw_vsock_virtio_transport ] || { say vsock absent "the driver is not there"; return; }
  found=
  for d in /sys/bus/virtio/drivers/vmw_vsock_virtio_transport/virtio*; do [ -e "$d" ] && found=1; done
  [ -n "$found" ] || { say vsock absent "there is no virtio-vsock"; return; }
  port=$(param runtime.vsock) || { say vsock ok "the device is there; no port was given to talk to"; return; }
  if echoes "VSOCK-CONNECT:2:$port"; then say vsock ok "256 KiB there and back through port $port"
  else say vsock failed "port $port: $(tail -n 1 /run/socat)"; fi
}

check_input() {
  n=0
  for d in /sys/bus/virtio/drivers/virtio_input/virtio*; do [ -e "$d" ] && n=$((n + 1)); done
  if [ $n -gt 0 ]; then say input ok "$n devices"; else say input absent "there is no virtio-input"; fi
}

check_balloon() {
  for d in /sys/bus/virtio/drivers/virtio_balloon/virtio*; do
    [ -e "$d" ] && { say balloon ok "\${d##*/}"; return; }
  done
  say balloon absent "there is no virtio-balloon"
}

check_console() {
  ports=
  for d in /sys/class/virtio-ports/vport*; do [ -e "$d" ] && ports="$ports \${d##*/}"; done
  [ -e /dev/hvc0 ] && [ -e /sys/bus/virtio/drivers/virtio_console ] && ports="$ports hvc0"
  if [ -n "$ports" ]; then say console ok "\${ports# }"; else say console absent "there is no virtio-console"; fi
}

check_kernel() {
  bad=$(dmesg | grep -E -c 'BUG:|Oops|Call Trace|I/O error|blocked for more than')
  if [ "$bad" = 0 ]; then say kernel ok "$(uname -r)"; else say kernel failed "$bad lines of trouble in its log"; fi
}

i=0
while [ ! -e /run/later-done ] && [ $i -lt 100 ]; do usleep 100000; i=$((i + 1)); done
check_block
check_rng
check_input
check_balloon
check_console
check_net
check_vsock
check_kernel
echo "${CHECK_PREFIX}done"
`;
