import type { KernelProblem } from "./kernel.ts";
import { problemOf } from "./netlink_problem.ts";
import { NetlinkFormatError } from "./netlink_reader.ts";
import { NetlinkError } from "./netlink_reply.ts";

/** A kind of error that says what the kernel refused. */
export type RefusalClass = new (
  what: string,
  why: string,
  problem: KernelProblem,
  options: { program?: string; code?: number; stderr?: string; cause?: unknown },
) => Error;

/** Runs a step that speaks netlink, and throws its failure as an error of that kind, which says what could not be done. */
export async function explained<T>(Refusal: RefusalClass, what: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof NetlinkError) && !(error instanceof NetlinkFormatError)) throw error;
    const { why, errno } = error;
    throw new Refusal(what, why, problemOf(errno), { stderr: why, cause: error });
  }
}
