import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HostError, type RunCommand, runCommand, runningAs, runsHere } from "../../lib/host/command.ts";
import { readKernelFiles } from "../../lib/host/kernel_file.ts";
import "../open_libc.ts";

/** Another way to run programs, for which nothing is read in this process. */
const elsewhere: RunCommand = (request) => runCommand(request);
const WAYS = { "in this process, where that is allowed": runCommand, "by a program": elsewhere };

for (const [name, run] of Object.entries(WAYS)) {
  Deno.test(`files of the kernel are read one after another, and missing ones are left out: ${name}`, async () => {
    const [own, version] = [`/proc/${Deno.pid}/comm`, "/proc/version"];
    const comm = await readKernelFiles([own], { run });
    const text = await readKernelFiles([own, `/proc/${2 ** 22 + 1}/comm`, "/proc", version], { run });
    assertEquals(text.slice(0, comm.length), comm);
    assertMatch(text.slice(comm.length), /^Linux version .*\n$/);
    assertEquals(await readKernelFiles([], { run }), "");
    // Longer than a piece.
    const long = await readKernelFiles(["/proc/zoneinfo", "/proc/vmstat"], { run });
    assertEquals(long.endsWith("\n") && long.length > 4096, true);
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    assertEquals(await assertRejects(() => readKernelFiles([own], { run, signal })), reason);
  });
}

Deno.test("a machine without cat is reported as such", async () => {
  const run: RunCommand = () => Promise.reject(new Deno.errors.NotFound("no cat"));
  const error = await assertRejects(() => readKernelFiles(["/proc/version"], { run }), HostError);
  assertEquals([error.reason, error.program], ["program-missing", "cat"]);
});

Deno.test("what only adds something to the programs of this machine still runs them here", () => {
  const around = (run: RunCommand) => runningAs(run, (request) => run(request));
  const ways = [runCommand, around(runCommand), around(around(runCommand)), elsewhere, around(elsewhere)];
  assertEquals(ways.map(runsHere), [true, true, true, false, false]);
});
