// Connections through the program `conntrack`, whose words are those of its manual.
import { assertEquals, assertRejects } from "@std/assert";
import { formatIp } from "../../lib/cni/address.ts";
import { HostError } from "../../lib/host/command.ts";
import { removeFlowsByProgram } from "../../lib/kernel/conntrack_program.ts";
import type { Flow } from "../../lib/kernel/flow.ts";
import { ScriptedRun } from "../builtin/scripted_run.ts";

const LIST =
  `udp      17 29 src=192.0.2.2 dst=192.0.2.1 sport=4001 dport=53 src=10.1.0.2 dst=192.0.2.2 sport=5353 ` +
  `dport=4001 mark=0 use=1
udp      17 17 src=192.0.2.3 dst=192.0.2.1 sport=4002 dport=53 [UNREPLIED] src=192.0.2.1 dst=192.0.2.3 sport=53 ` +
  `dport=4002 mark=0 use=1

something else
`;

const seen = ({ destination, port, answerer }: Flow) =>
  `${formatIp(destination)} ${port} ${formatIp(answerer)}`;

Deno.test("the selected connections are removed by what their first packets had, and no others", async () => {
  const flows: string[] = [];
  const run = new ScriptedRun(({ command }) => command.includes("-L") ? { stdout: LIST } : {});
  const isSelected = (flow: Flow) => {
    flows.push(seen(flow));
    return formatIp(flow.answerer) === "10.1.0.2";
  };
  assertEquals(await removeFlowsByProgram(run.run, { family: 4, isSelected }, undefined), 1);
  assertEquals(flows, ["192.0.2.1 53 10.1.0.2", "192.0.2.1 53 192.0.2.1"]);
  assertEquals(run.commands, [
    "conntrack -L -f ipv4 -p udp",
    "conntrack -D -s 192.0.2.2 -d 192.0.2.1 --sport 4001 --dport 53 -f ipv4 -p udp",
  ]);
});

Deno.test("a connection that has ended meanwhile counts as removed, and another failure does not", async () => {
  const answering = (code: number) =>
    new ScriptedRun(({ command }) => command.includes("-L") ? { stdout: LIST } : { code, stderr: "no" }).run;
  const all = { family: 4, isSelected: () => true } as const;
  assertEquals(await removeFlowsByProgram(answering(1), all, undefined), 2);
  await assertRejects(() => removeFlowsByProgram(answering(2), all, undefined), HostError);
});

Deno.test("without the program nothing is removed, and the caller knows", async () => {
  const missing = new HostError("no", { program: "conntrack", reason: "program-missing" });
  const run = new ScriptedRun(() => missing);
  const isSelected = () => true;
  assertEquals(await removeFlowsByProgram(run.run, { family: 6, isSelected }, undefined), undefined);
});
