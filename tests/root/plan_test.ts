import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { podwire } from "../cli/fake_io.ts";
import { inWorld } from "../cli/plan_world.ts";
import { need } from "./need.ts";

Deno.test({
  name: "the script of a plan makes the namespace and runs the plugins with what a run gives them",
  ...need("root", "ip"),
  fn: () =>
    inWorld(async (dir, args) => {
      const { code, stdout, stderr } = await podwire(["plan", "--id", "c1", "--show-secrets", ...args]);
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
      await Deno.mkdir(`${dir}/netns`);
      const netns = `${dir}/netns/podwire-c1`;
      try {
        const options: Deno.CommandOptions = { args: ["-c", stdout], stdout: "piped", stderr: "piped" };
        const child = await new Deno.Command("sh", options).output();
        assertEquals({ success: child.success, stderr: new TextDecoder().decode(child.stderr) }, {
          success: true,
          stderr: "",
        });
        const lo = await new Deno.Command("nsenter", { args: [`--net=${netns}`, "ip", "-br", "link"] })
          .output();
        assertStringIncludes(new TextDecoder().decode(lo.stdout), "LOOPBACK,UP");
      } finally {
        await new Deno.Command("umount", { args: [netns] }).output();
      }
      const stdin = (name: string) => JSON.parse(Deno.readTextFileSync(`${dir}/bin/${name}.eth0.stdin`));
      assertEquals(stdin("pw-plan-one").password, "secret");
      assertEquals(stdin("pw-plan-two"), {
        type: "pw-plan-two",
        apiToken: "t",
        note: "it's",
        name: "net",
        cniVersion: "1.0.0",
        prevResult: { cniVersion: "1.0.0", ips: [], dns: {} },
      });
      const environment = Deno.readTextFileSync(`${dir}/bin/pw-plan-two.eth0.env`);
      assertStringIncludes(environment, "\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\n");
      assert(!environment.includes("HOME="), "nothing is inherited");
    }),
});
