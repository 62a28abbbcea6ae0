import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { DHCP_SOCKET, dhcpSocketOf, requireDhcpDaemon, withDhcpHint } from "../../lib/plugin/dhcp.ts";
import { inTempDir } from "../temp_dir.ts";

Deno.test("the socket of the DHCP daemon is that of the configuration, or the one of the original", () => {
  for (
    const [ipam, socket] of [
      [{ type: "dhcp" }, DHCP_SOCKET],
      [{ type: "dhcp", daemonSocketPath: "" }, DHCP_SOCKET],
      [{ type: "dhcp", daemonSocketPath: "/run/other.sock" }, "/run/other.sock"],
      [{ type: "dhcp", daemonSocketPath: 7 }, undefined],
      [{ type: "host-local", daemonSocketPath: "/run/other.sock" }, undefined],
      [null, undefined],
    ] as const
  ) assertEquals(dhcpSocketOf({ type: "bridge", ipam }), socket, JSON.stringify(ipam));
  assertEquals(dhcpSocketOf({ type: "bridge" }), undefined);
});

Deno.test("only a network that asks a DHCP daemon needs one, and its errors say that it is missing", () =>
  inTempDir(async (dir) => {
    const config = { type: "bridge", ipam: { type: "dhcp", daemonSocketPath: `${dir}/s` } };
    const other = { type: "bridge", ipam: { type: "static" } };
    await requireDhcpDaemon(other);
    const refusal = await assertRejects(() => requireDhcpDaemon(config), CniError);
    assertEquals({ kind: refusal.kind, code: refusal.code, msg: refusal.msg }, {
      kind: "not-ready",
      code: 50,
      msg: `no DHCP daemon listens at ${dir}/s`,
    });
    const failure = new Error("error dialing DHCP daemon");
    const hint = asCniError(await withDhcpHint(failure, config)).context.hint ?? "";
    assertEquals(hint.startsWith(`no DHCP daemon listens at ${dir}/s: \`podwire serve\``), true, hint);
    assertEquals(await withDhcpHint(failure, other), failure);
    const hinted = new CniError("io", "no", { hint: "its own" });
    assertEquals(await withDhcpHint(hinted, config), hinted);
    using _listener = Deno.listen({ transport: "unix", path: `${dir}/s` });
    await requireDhcpDaemon(config);
    assertEquals(await withDhcpHint(failure, config), failure);
    const noLease = new Error("error calling DHCP.Allocate: no more tries");
    assertEquals(await withDhcpHint(noLease, other), noLease);
    const why = asCniError(await withDhcpHint(noLease, config)).context.hint ?? "";
    assertEquals(why.startsWith("the DHCP server gave no lease; "), true, why);
  }));
