// Names of containers, and those that tremplin gives what is not finished.

/** As of LXD, which takes what can be the name of a host. */
const NAME = /^[a-zA-Z](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/;

/** What is being created, until it is whole. */
export const IN_PROGRESS = 'crostini-inprogress-create';
/** The copy whose files are given other owners, and the original while the two change places. */
export const SUFFIXES = { remap: '-crostini-remap', recover: '-crostini-recover' } as const;

/** Whether a caller may name a container so. */
export function isContainerName(name: string): boolean {
  return NAME.test(name) && !isTransient(name);
}

/** One that nobody but tremplin has made, and that is nobody's. */
export function isTransient(name: string): boolean {
  return name === IN_PROGRESS || Object.values(SUFFIXES).some((suffix) => name.endsWith(suffix));
}
