import type { SocketListener } from "../daemon/served_socket.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { removeIfThere } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { answerSelfTest, selfTest } from "./self_test.ts";
import type { AnswerGrpc, GrpcTransport } from "./transport.ts";

/** What {@linkcode listenForGrpc} works with. */
export interface GrpcListenOptions {
  readonly answer: AnswerGrpc;
  readonly log: Logger;
  /** In the order in which they are tried. */
  readonly transports: readonly GrpcTransport[];
}

/**
 * Serves gRPC at a path with the first transport that answers a call over just that socket.
 *
 * @throws {CniError} kind `not-ready`, naming what each transport lacks, if none works
 */
export async function listenForGrpc(
  path: string,
  { answer, log, transports }: GrpcListenOptions,
): Promise<SocketListener> {
  const problems: string[] = [];
  for (const transport of transports) {
    // Clients do not know the socket yet, so all calls until then are those of the test.
    let current = answerSelfTest;
    const listener = await listenWith(transport, path, (request) => current(request), log);
    const problem = typeof listener === "string" ? listener : await selfTest(path);
    if (typeof listener !== "string" && problem === undefined) {
      current = answer;
      return listener;
    }
    problems.push(`${transport.name}: ${problem}`);
    if (typeof listener !== "string") {
      listener.abort();
      await listener.finish().catch(() => {});
    }
    await removeIfThere(path);
  }
  throw new CniError(
    "not-ready",
    "Cannot serve the CRI: this Deno cannot answer calls of gRPC on a Unix socket",
    {
      code: ERROR_CODES.ioFailure,
      details: problems.join("; "),
      hint: "use the compiled program, or leave --cri out",
    },
  );
}

/** Returns the listener, or why there is none. */
async function listenWith(
  transport: GrpcTransport,
  path: string,
  answer: AnswerGrpc,
  log: Logger,
): Promise<SocketListener | string> {
  try {
    return await transport.listen(path, answer, log);
  } catch (error) {
    return messageOf(error);
  }
}
