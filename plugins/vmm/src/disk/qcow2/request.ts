// A request while it lasts, and queues of those that wait. There is one object for each request number, used again and
// again.

export const Kind = { read: 0, write: 1, zeroes: 2, discard: 3, flush: 4 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** What the operation in flight is for. */
export const Phase = {
  none: 0,
  /** Guest memory from a layer. */
  read: 1,
  /** Guest memory, or zeroes, to clusters that are allocated. */
  inPlace: 2,
  /** Guest memory to new clusters in the place of ones that read as zeroes. */
  fresh: 3,
  /** Guest memory to new clusters in the place of whole ones that held something. */
  replace: 4,
  /** What a cluster held, to a buffer. */
  copyOut: 5,
  /** The buffer, changed, to a new cluster. */
  copyIn: 6,
  /** Zeroes by fallocate(2). */
  zeroRange: 7,
  /** Nothing, so that others get their turn. */
  pause: 8,
  /** No operation: waits until the data is on stable storage, so that an entry may refer to it. */
  commit: 9,
} as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

export class Request {
  readonly id: number;
  /** Begun and not ended. */
  active = false;
  kind: Kind = Kind.read;
  phase: Phase = Phase.none;
  /** What is left to do of the guest's range. */
  offset = 0;
  left = 0;
  mayUnmap = false;
  /** iovecs that are not used up: the first, and the end. */
  first = 0;
  count = 0;

  /** The operation: into or out of `address`, or the window of iovecs when that is 0. */
  fd = -1;
  host = 0;
  address = 0;
  /** Bytes of the guest's range that it is for. */
  length = 0;
  /** Bytes of it that are not done. */
  rest = 0;
  /** iovecs from `first` in the window; the last of them is cut short by `trimmed` bytes. */
  window = 0;
  trimmed = 0;
  retries = 0;
  /** Of an fallocate: 0, or a negative errno. */
  result = 0;
  /** Which of the two generations of operations it is in. */
  generation = 0;

  /** Guest clusters that get the host clusters from `target`. */
  cluster = 0;
  clusters = 0;
  target = 0;
  /** Buffer, or −1; and what is still to be copied into it. */
  slot = -1;
  copyOffset = 0;
  copyLeft = 0;

  next: Request | undefined = undefined;

  constructor(id: number) {
    this.id = id;
  }
}

/** First in, first out; a request is in one at most. */
export class RequestQueue {
  #head: Request | undefined;
  #tail: Request | undefined;

  get empty(): boolean {
    return this.#head === undefined;
  }

  push(request: Request): void {
    request.next = undefined;
    if (this.#tail === undefined) this.#head = request;
    else this.#tail.next = request;
    this.#tail = request;
  }

  shift(): Request | undefined {
    const request = this.#head;
    if (request === undefined) return undefined;
    this.#head = request.next;
    if (this.#head === undefined) this.#tail = undefined;
    request.next = undefined;
    return request;
  }

  /** Moves all of another queue behind those of this one. */
  take(other: RequestQueue): void {
    if (other.#head === undefined) return;
    if (this.#tail === undefined) this.#head = other.#head;
    else this.#tail.next = other.#head;
    this.#tail = other.#tail;
    other.#head = undefined;
    other.#tail = undefined;
  }
}
