// Process 1 until Termina's image is mounted: a script for busybox's shell in the initial file system. It knows
//   runtime.verity=<root hash>:<blocks>   check each block of the image when it is read (dm-verity)
// and leaves the rest of the kernel command line to the guest's program, which becomes process 1 after it.

/** Begins a line on the console that says why the boot was given up. */
export const BOOT_FAILED = 'runtime: the boot was given up: ';

/** Where Node and the guest's program lie in the image. */
export const GUEST_FOLDER = '/opt/runtime';

const PRELUDE = `#!/bin/sh
b=/usr/bin/busybox
fail() { echo "${BOOT_FAILED}$*"; $b sleep 1; $b poweroff -f; }
while read -r m; do $b insmod "/modules/$m.ko" || fail "module $m cannot be inserted"; done < /modules/order
$b mount -t devtmpfs dev /dev || fail "there is no devtmpfs"
i=0
while [ ! -b /dev/vda ]; do
  i=$((i + 1)); [ $i -gt 100 ] && fail "there is no disk"
  $b usleep 20000
done
disk=/dev/vda
`;

/** A block that is not what it was when the image was made is to stop the guest, whoever comes upon it. */
const VERITY = `
$b mount -t proc proc /proc
for p in $($b cat /proc/cmdline); do
  case $p in runtime.verity=*) v=\${p#*=} ;; esac
done
[ -n "$v" ] || fail "the kernel command line has no runtime.verity"
blocks=\${v#*:}
/usr/sbin/dmsetup create root --readonly --noudevsync --noudevrules --table \\
  "0 $((blocks * 8)) verity 1 $disk $disk 4096 4096 $blocks $((blocks + 1)) sha256 \${v%%:*} - 1 panic_on_corruption" \\
  || fail "dm-verity cannot be set up"
$b umount /proc
disk=/dev/dm-0
`;

/** What comes later is inserted by the image's own modprobe while the guest's program starts. */
const finish = (atOnce: readonly string[]): string => `
$b mount -t erofs -o ro $disk /root || fail "the image cannot be mounted"
$b chroot /root /sbin/modprobe -q -a ${atOnce.join(' ')} > /dev/null 2>&1 &
$b mount -t tmpfs -o nosuid,nodev,mode=0700,uid=1000,gid=1000 home /root/home/chronos
$b mount --move /dev /root/dev
exec $b switch_root /root ${GUEST_FOLDER}/node ${GUEST_FOLDER}/guest.cjs
fail "the guest's program cannot be started"
`;

export function terminaInit(options: { readonly verity: boolean; readonly atOnce: readonly string[] }): string {
  return `${PRELUDE}${options.verity ? VERITY : ''}${finish(options.atOnce)}`;
}
