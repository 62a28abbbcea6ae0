/** What every call of the library takes as its last argument. */
export interface CallOptions {
  /** Cuts the call short: it waits for no lock and no plugin any more, and undoes what it began. */
  readonly signal?: AbortSignal | undefined;
}
