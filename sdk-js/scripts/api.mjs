// Writes api.md: what users can import, as the compiler sees it. `--write` replaces the
// file; a test compares it with what is built.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const src = join(root, 'src');

/** Every name that a module exports, with its declaration, bodies and comments left out. */
function moduleReport(program, file) {
  const checker = program.getTypeChecker();
  const symbol = checker.getSymbolAtLocation(program.getSourceFile(file));
  const printer = ts.createPrinter({ removeComments: true });
  const reports = checker.getExportsOfModule(symbol).map((exported) => {
    const target = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    const texts = (target.declarations ?? []).map((declaration) => {
      const whole = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
      return printer.printNode(ts.EmitHint.Unspecified, whole, whole.getSourceFile()).replace(/ *\r?\n/g, '\n');
    });
    return [exported.name, [...new Set(texts)].join('\n')];
  });
  return reports.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text).join('\n\n');
}

/** The report of all modules, from the declaration files of the build. */
export function report() {
  const types = join(root, 'dist', 'esm');
  const plugins = readdirSync(join(src, 'plugins')).map((name) => `plugins/${name.replace(/\.ts$/, '')}`);
  const modules = ['index', 'server', 'spool', 'segment', ...plugins.sort()];
  const files = modules.map((name) => join(types, `${name}.d.ts`));
  const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022, types: ['node'], skipLibCheck: true });
  const parts = modules.map((name, i) => `## @tidegate/sdk-js${name === 'index' ? '' : `/${name}`}\n\n\`\`\`ts\n${moduleReport(program, files[i])}\n\`\`\`\n`);
  return `# What can be imported\n\nWritten by \`npm run api\` from the built types. A change here is a change for users.\n\n${parts.join('\n')}`;
}

if (process.argv.includes('--write')) writeFileSync(join(root, 'api.md'), report());
else if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(readFileSync(join(root, 'api.md'), 'utf8') === report() ? 'api.md is as built\n' : 'api.md differs: npm run api\n');
