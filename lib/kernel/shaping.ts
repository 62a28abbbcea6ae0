/** How fast a queue lets packets go. */
export interface RateLimit {
  /** In bytes a second. */
  readonly rate: number;
  /** After a pause so many bytes go at once. */
  readonly burst: number;
  /** So many bytes may wait; what comes then is dropped. */
  readonly limit: number;
}

/** One change of how the packets of an interface are queued, as data. */
export type ShapingChange =
  | {
    /** Limits what leaves through an interface; replaces the queue that it has. */
    readonly kind: "limit-rate";
    readonly device: string;
    readonly limit: RateLimit;
  }
  | {
    /** Lets what comes in through an interface leave through another one first, which gives it back. */
    readonly kind: "redirect";
    readonly device: string;
    readonly to: string;
  }
  | {
    /** Removes what the two others have made; what is not there is no error. */
    readonly kind: "stop-limit" | "stop-redirect";
    readonly device: string;
  };

/** How the packets of an interface are queued. */
export interface Shaping {
  /** Of what leaves through it; undefined if there is none of the kind that `limit-rate` makes. */
  readonly limit: RateLimit | undefined;
  readonly incoming: Incoming;
}

/**
 * What becomes of the packets that come in: the kernel looks at no filters; at none that are there; at filters that do not
 * redirect; or they go through another interface first, which may be gone, and then they are dropped.
 */
export type Incoming =
  | "unfiltered"
  | "no filters"
  | "other filters"
  | "redirected to nothing"
  | { readonly redirectsTo: string };

/** Says what a change does, with an infinitive. */
export function describeShaping({ kind, device, ...more }: ShapingChange): string {
  switch (kind) {
    case "limit-rate":
      return `limit the rate of ${JSON.stringify(device)}`;
    case "redirect":
      return `redirect what ${JSON.stringify(device)} receives to ${
        JSON.stringify("to" in more ? more.to : "")
      }`;
    case "stop-limit":
      return `end the limit of ${JSON.stringify(device)}`;
    case "stop-redirect":
      return `end the redirection of ${JSON.stringify(device)}`;
  }
}

/** Microseconds in a second. */
const SECOND = 1_000_000;
/** The kernel counts the time of queues in units of 64 nanoseconds, on all machines since 2009. */
const TICKS_PER_MICROSECOND = 1_000 / 64;

/** Returns the longest burst that the kernel can count at a rate, in bytes. */
export function longestBurst(rate: number): number {
  return Math.floor((2 ** 32 - 1) / TICKS_PER_MICROSECOND / SECOND * rate);
}

/** Returns the time that a burst takes, in the kernel's unit, rounded as the CNI plugins project does. */
export function burstTicks({ rate, burst }: Pick<RateLimit, "rate" | "burst">): number {
  return Math.floor(Math.floor(burst * SECOND / rate) * TICKS_PER_MICROSECOND);
}

/** Returns the burst that takes that time. */
export function burstOfTicks(ticks: number, rate: number): number {
  return Math.floor(ticks / TICKS_PER_MICROSECOND * rate / SECOND);
}
