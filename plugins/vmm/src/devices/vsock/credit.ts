// Credit of one connection, virtio 1.2 §5.10.6.3: each side tells in every packet how much it can hold (buf_alloc) and how
// much of what it got it has passed on (fwd_cnt). Counters are u32 and wrap around.

/** Above this a difference of two counters is a step back: packets of two CPUs of the guest may overtake each other. */
const HALF = 0x8000_0000;

/** Plain data, for hot reload. */
export interface CreditState {
  readonly bufAlloc: number;
  readonly received: number;
  readonly forwarded: number;
  readonly advertised: number;
  readonly peerAlloc: number;
  readonly peerForwarded: number;
  readonly sent: number;
}

export class Credit {
  /** Bytes that we hold at most for the host's side of the connection. */
  readonly bufAlloc: number;
  #received = 0;
  #forwarded = 0;
  /** What the peer knows of `#forwarded`. */
  #advertised = 0;
  #peerAlloc = 0;
  #peerForwarded = 0;
  #sent = 0;

  constructor(bufAlloc: number) {
    this.bufAlloc = bufAlloc;
  }

  /** @param state of a credit with the same `bufAlloc` */
  restore(state: CreditState): void {
    this.#received = state.received;
    this.#forwarded = state.forwarded;
    this.#advertised = state.advertised;
    this.#peerAlloc = state.peerAlloc;
    this.#peerForwarded = state.peerForwarded;
    this.#sent = state.sent;
  }

  /** Takes in what a packet of the peer says. False when it says that it passed on more than it was sent. */
  peerSays(bufAlloc: number, forwarded: number): boolean {
    const step = (forwarded - this.#peerForwarded) >>> 0;
    if (step <= this.#inFlight) this.#peerForwarded = forwarded;
    else if (step < HALF) return false;
    this.#peerAlloc = bufAlloc;
    return true;
  }

  /** Bytes that may be sent to the peer now. */
  get free(): number {
    // Never more in flight than half the counters' range, whatever the peer offers.
    const alloc = Math.min(this.#peerAlloc, HALF - 1);
    const inFlight = this.#inFlight;
    return inFlight >= alloc ? 0 : alloc - inFlight;
  }

  /** @param bytes at most `free` */
  sent(bytes: number): void {
    this.#sent = (this.#sent + bytes) >>> 0;
  }

  /** Counts bytes that came from the peer. False when they are more than we had room for: it does not keep to its credit. */
  received(bytes: number): boolean {
    const held = (this.#received - this.#forwarded) >>> 0;
    if (bytes > this.bufAlloc - held) return false;
    this.#received = (this.#received + bytes) >>> 0;
    return true;
  }

  /** Counts bytes that have left us for the host. @param bytes at most those held */
  forwarded(bytes: number): void {
    this.#forwarded = (this.#forwarded + bytes) >>> 0;
  }

  /** fwd_cnt for a packet that is about to be sent: from then on the peer knows it. */
  advertise(): number {
    this.#advertised = this.#forwarded;
    return this.#forwarded;
  }

  /**
   * Whether the peer should be told soon. Linux uses no more of our room than it offers itself, so the smaller of both
   * counts; a quarter of it keeps a stream going.
   */
  get isNewsworthy(): boolean {
    const untold = (this.#forwarded - this.#advertised) >>> 0;
    return untold > 0 && untold >= Math.floor(Math.min(this.bufAlloc, this.#peerAlloc) / 4);
  }

  toState(): CreditState {
    return {
      bufAlloc: this.bufAlloc,
      received: this.#received,
      forwarded: this.#forwarded,
      advertised: this.#advertised,
      peerAlloc: this.#peerAlloc,
      peerForwarded: this.#peerForwarded,
      sent: this.#sent,
    };
  }

  get #inFlight(): number {
    return (this.#sent - this.#peerForwarded) >>> 0;
  }
}
