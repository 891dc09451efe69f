// The completion scripts. They ask the command itself (`runtime __complete <words>`), so that plugins and their commands
// are always those of now. Its answer: one candidate per line, a tab and a description; `:file` or `:folder` asks the
// shell for paths.

const BASH = `# bash completion for runtime; load with: source <(runtime completion bash)
_runtime() {
  local IFS=$'\\n' line current=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  while read -r line; do
    case $line in
      :file) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$current")) ;;
      :folder) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$current")) ;;
      ?*) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  # A list that goes on, or the value after "=": no space behind it.
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *[=,] ]] && compopt -o nospace
}
complete -o nosort -F _runtime runtime
`;

const ZSH = `#compdef runtime
# zsh completion for runtime; load with: source <(runtime completion zsh)
_runtime() {
  local line
  local -a candidates
  for line in "\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      :file) _files ;;
      :folder) _files -/ ;;
      ?*) candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done
  (( \${#candidates} )) && _describe -t runtime 'runtime' candidates
}
if [[ \${funcstack[1]} == _runtime ]]; then _runtime "$@"; else compdef _runtime runtime; fi
`;

const FISH = `# fish completion for runtime; load with: runtime completion fish | source
function __runtime_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
        switch $line
            case ':file'
                __fish_complete_path (commandline -ct)
            case ':folder'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end
complete -c runtime -f -a '(__runtime_complete)'
`;

export const COMPLETION_SCRIPTS: Readonly<Record<string, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
