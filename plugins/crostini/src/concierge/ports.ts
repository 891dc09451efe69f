// Ports of vsock, as ChromeOS has them.

/** Of every guest. */
export const GUEST_PORTS = { maitred: 8888, tremplin: 8890, vsh: 9001 } as const;

/** Of the host, CID 2, as guests call them. */
export const HOST_PORTS = { startup: 7777, tremplin: 7778, crash: 7779, containers: 8889, logs: 9999 } as const;
export type HostPort = (typeof HOST_PORTS)[keyof typeof HOST_PORTS];
