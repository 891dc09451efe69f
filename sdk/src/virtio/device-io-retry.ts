// Results of system calls that mean "again", errno(3).

const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;
/** The time of a wait has passed. */
const ETIME = 62;

/** @param errno positive */
export function isWouldRetry(errno: number): boolean {
  return errno === EINTR || errno === EAGAIN || errno === EBUSY || errno === ETIME;
}
