// Opens the C library before the first test runs: opened by a test, it would count as left open by it.
import { mayCallLibc } from "../lib/host/libc.ts";

/** Whether this machine has it, and Deno allows it. */
export const HAS_LIBC: boolean = mayCallLibc();
