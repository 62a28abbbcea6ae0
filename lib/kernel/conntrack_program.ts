import { parseIp } from "../cni/address.ts";
import { HostError, type RunCommand, runOk } from "../host/command.ts";
import type { Flow, FlowSelection } from "./flow.ts";

/** A gateway has hundreds of thousands of connections, of 200 characters each. */
const MOST_LISTED_BYTES = 256 * 1024 * 1024;

/** A connection, with the words that name it when it is to be removed. */
interface PrintedFlow extends Flow {
  readonly words: readonly string[];
}

/**
 * Removes the selected connections by the program `conntrack`; returns how many there were, or undefined if there is no such
 * program.
 *
 * Requires root and `--allow-run=conntrack`.
 */
export async function removeFlowsByProgram(
  run: RunCommand,
  { family, isSelected }: FlowSelection,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const about = ["-f", `ipv${family}`, "-p", "udp"];
  const conntrack = async (args: readonly string[]) =>
    (await runOk(run, {
      program: "conntrack",
      args: [...args, ...about],
      signal,
      ownGroup: false,
      maxStdout: MOST_LISTED_BYTES,
    })).stdout;
  let list: string;
  try {
    list = await conntrack(["-L"]);
  } catch (error) {
    if (error instanceof HostError && error.reason === "program-missing") return undefined;
    throw error;
  }
  const selected = list.split("\n").flatMap(readLine).filter(isSelected);
  for (const { words } of selected) {
    try {
      await conntrack(["-D", ...words]);
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof HostError) || error.code !== 1) throw error;
    }
  }
  return selected.length;
}

/** A line has the source, the destination and the ports twice: as the first packet had them, and as the answers have them. */
function readLine(line: string): PrintedFlow[] {
  const values = (key: string) =>
    [...line.matchAll(new RegExp(` ${key}=(\\S+)`, "g"))].map(([, value]) => value);
  const [source = "", answerer = ""] = values("src");
  const [destination = ""] = values("dst");
  const [sport = ""] = values("sport");
  const [dport = ""] = values("dport");
  const [to, by] = [parseIp(destination), parseIp(answerer)];
  if (to === undefined || by === undefined || dport === "") return [];
  const words = ["-s", source, "-d", destination, "--sport", sport, "--dport", dport];
  return [{ destination: to, port: Number(dport), answerer: by, words }];
}
