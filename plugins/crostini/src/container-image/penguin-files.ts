// What a Debian container is made of, beside what every Debian has.

/** What is installed, with all that they depend on. */
export const PENGUIN_PACKAGES: readonly string[] = [
  ...['systemd', 'systemd-sysv', 'dbus', 'dbus-user-session', 'libpam-systemd', 'libnss-myhostname', 'sudo'],
  ...[
    'bash-completion',
    'ca-certificates',
    'dhcpcd-base',
    'iproute2',
    'iputils-ping',
    'less',
    'nano',
    'netbase',
    'procps',
    'xdg-utils',
  ],
  // Node, which garcon runs on, comes from the VM without these.
  ...['libstdc++6', 'libatomic1'],
];

/** Left out: nobody reads them in a container whose screen is another one's. */
export const PENGUIN_WITHOUT: readonly string[] = ['/usr/share/man/*', '/usr/share/locale/*', '/usr/share/doc/*'];

/** Where the VM puts its programs. */
const TOOLS = '/opt/google/cros-containers';

const GARCON_UNIT = `[Unit]
Description=Runtime's agent in this container
ConditionPathExists=/dev/.container_token

[Service]
ExecStart=${TOOLS}/node ${TOOLS}/containers.cjs garcon --server
Restart=always
RestartSec=1

[Install]
WantedBy=default.target
`;

/**
 * Not systemd-networkd: in a container that may have containers it waits for udev, which has nothing to do here. The address
 * of the name server comes with the container's own.
 */
const NETWORK_UNIT = `[Unit]
Description=Address of this container
Before=network.target
Wants=network.target

[Service]
ExecStart=/usr/sbin/dhcpcd --nobackground --quiet --noarp --ipv4only eth0
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
`;

export const PENGUIN_FILES: Readonly<Record<string, string>> = {
  'etc/systemd/user/cros-garcon.service': GARCON_UNIT,
  'etc/systemd/system/cros-network.service': NETWORK_UNIT,
  'etc/sudoers.d/10-cros-nopasswd': '%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n',
  // ping(8) without privileges, which programs in files do not get in a container.
  'etc/sysctl.d/50-ping.conf': '-net.ipv4.ping_group_range = 0 65535\n',
  'etc/hostname': 'penguin\n',
  // In the place of that of the machine which made it; dhcpcd writes it.
  'etc/resolv.conf': '',
};

/** Symbolic links: which services start, and which do not, since they wait for hardware or for nobody. */
export const PENGUIN_LINKS: Readonly<Record<string, string>> = {
  'etc/systemd/user/default.target.wants/cros-garcon.service': '/etc/systemd/user/cros-garcon.service',
  'etc/systemd/system/multi-user.target.wants/cros-network.service': '/etc/systemd/system/cros-network.service',
  ...Object.fromEntries(
    [
      ...['systemd-modules-load.service', 'systemd-journal-flush.service', 'systemd-firstboot.service'],
      ...['console-getty.service', 'container-getty@.service', 'getty@.service', 'getty.target', 'modprobe@.service'],
      ...['e2scrub_reap.service', 'fstrim.timer', 'dpkg-db-backup.timer', 'sys-kernel-debug.mount'],
      ...['systemd-udev-trigger.service', 'systemd-udevd.service'],
    ].map((unit) => [`etc/systemd/system/${unit}`, '/dev/null']),
  ),
};
