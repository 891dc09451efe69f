// Descriptors that the runtime has handed over, by name.

export type Descriptors = Readonly<Record<string, number>>;

export function named(fds: Descriptors, name: string): number {
  const fd = fds[name];
  if (fd === undefined) throw new TypeError(`this block device needs a descriptor called "${name}"`);
  return fd;
}
