// What the two profiles of Termina's image are made of.

import type { ImageProfile } from '../contract.ts';

export interface ProfileParts {
  /** Debian packages; what they depend on comes with them. */
  readonly packages: readonly string[];
  /** Kernel modules that can be loaded once the image is mounted; the kernel asks for most of them by itself. */
  readonly modules: readonly string[];
  /** Of those: loaded at once, beside everything else that happens. */
  readonly atOnce: readonly string[];
}

/** Inserted before the image can be mounted, or before the guest's program calls the host. */
export const EARLY_MODULES: readonly string[] = ['virtio_blk', 'erofs', 'vmw_vsock_virtio_transport', 'virtio_net'];
/** Beside them, where the image is checked block by block. */
export const VERITY_MODULES: readonly string[] = ['dm-mod', 'dm-verity'];

const FAST_PACKAGES: readonly string[] = [
  ...['base-files', 'base-passwd', 'bash', 'coreutils', 'dash', 'debianutils', 'diffutils', 'findutils', 'grep'],
  ...['gzip', 'hostname', 'libc-bin', 'mawk', 'mount', 'ncurses-base', 'sed', 'tar', 'util-linux'],
  ...['ca-certificates', 'iproute2', 'kmod', 'libstdc++6', 'procps', 'tzdata'],
];
const FAST_MODULES: readonly string[] = [
  ...['virtio-rng', 'virtio_balloon', 'button'],
  ...['9p', '9pnet_fd', '9pnet_virtio', 'ext4', 'overlay', 'loop', 'tun', 'virtio_console', 'vsock_loopback'],
];
const AT_ONCE: readonly string[] = ['virtio-rng', 'button', 'virtio_balloon'];

export const PROFILES: Readonly<Record<ImageProfile, ProfileParts>> = {
  fast: { packages: FAST_PACKAGES, modules: FAST_MODULES, atOnce: AT_ONCE },
  full: {
    packages: [
      ...FAST_PACKAGES,
      ...['lxd', 'lxd-client', 'lxcfs', 'dnsmasq-base', 'nftables', 'squashfs-tools', 'xz-utils', 'zstd'],
      ...['attr', 'btrfs-progs', 'e2fsprogs', 'iputils-ping', 'less', 'nano', 'socat'],
    ],
    modules: [
      ...FAST_MODULES,
      ...['btrfs', 'squashfs', 'veth', 'bridge', 'br_netfilter', 'macvlan', 'dummy', 'vhost_vsock'],
      ...['nf_tables', 'nft_chain_nat', 'nft_compat', 'nft_ct', 'nft_fib_inet', 'nft_limit', 'nft_log', 'nft_masq'],
      ...['nft_nat', 'nft_redir', 'nft_reject_inet', 'nf_conntrack_netlink', 'xt_MASQUERADE', 'xt_CHECKSUM'],
      ...['xt_comment', 'xt_conntrack', 'xt_addrtype', 'ip_tables', 'iptable_filter', 'iptable_nat', 'iptable_mangle'],
      ...['ip6_tables', 'ip6table_filter', 'ip6table_nat', 'virtio_input', 'evdev', 'uinput', 'virtio-gpu', 'zram'],
    ],
    // Nobody asks the kernel for the last two: programs look for their devices.
    atOnce: [...AT_ONCE, 'loop', 'tun'],
  },
};

/**
 * What Debian's packages depend on for being installed, for a login, or for a service manager, none of which there is
 * in the guest: a process of our own is the first one, and nothing is ever installed into the image.
 */
export const WITHOUT: readonly string[] = [
  ...['adduser', 'debconf', 'dpkg', 'init-system-helpers', 'libdb5.3t64', 'libdebconfclient0', 'libpam-modules'],
  ...['libpam-modules-bin', 'libpam-runtime', 'logsave', 'openssl', 'openssl-provider-legacy', 'perl-base'],
  ...['runit-helper', 'systemd', 'libsystemd-shared'],
];

/** Users beside Debian's own. */
export const USERS: Readonly<Record<'passwd' | 'group' | 'subuid' | 'subgid', readonly string[]>> = {
  passwd: [
    'dnsmasq:x:100:65534:dnsmasq:/var/lib/misc:/usr/sbin/nologin',
    'lxd:x:101:101::/var/lib/lxd:/usr/sbin/nologin',
    'chronos:x:1000:1000:chronos:/home/chronos:/bin/bash',
  ],
  group: ['lxd:x:101:', 'chronos:x:1000:'],
  subuid: ['root:1000000:1000000000'],
  subgid: ['root:1000000:1000000000'],
};

/** Folders which something is mounted on, or which maitred looks into. */
export const FOLDERS: readonly string[] = [
  ...['etc/maitred', 'home/chronos', 'mnt/external', 'mnt/shared', 'mnt/stateful', 'opt/google/cros-containers'],
  ...['opt/runtime', 'run/lock', 'var/lib/lxcfs', 'var/lib/lxd', 'var/lib/misc', 'var/log'],
];
