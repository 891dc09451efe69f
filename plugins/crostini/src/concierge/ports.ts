// Ports of vsock, as ChromeOS has them.

/** Of every guest. */
export const GUEST_PORTS = { maitred: 8888, vsh: 9001 } as const;

/** Of the host, CID 2, as guests call them. */
export const HOST_PORTS = { startup: 7777, crash: 7779, logs: 9999 } as const;
export type HostPort = (typeof HOST_PORTS)[keyof typeof HOST_PORTS];
