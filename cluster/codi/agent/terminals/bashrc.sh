# What an interactive shell of a workspace begins with: as a login shell, and then our defaults; the
# user's own files come last and win.
[ -r /etc/profile ] && . /etc/profile
case ":$PATH:" in *":$HOME/.local/bin:"*) ;; *) PATH="$HOME/.local/bin:$PATH" ;; esac
shopt -s checkwinsize histappend
HISTCONTROL=ignoreboth
PROMPT_COMMAND="history -a${PROMPT_COMMAND:+; $PROMPT_COMMAND}"
PS1='\[\e[1;32m\]\u\[\e[0m\]:\[\e[1;34m\]\w\[\e[0m\]\$ '
alias ls='ls --color=auto' grep='grep --color=auto' ll='ls -alF'
# The first of these, as bash(1) has it for login shells. Most read ~/.bashrc themselves.
__rc=~/.bashrc
for __file in ~/.bash_profile ~/.bash_login ~/.profile; do
  if [ -r "$__file" ]; then
    command grep -qs bashrc "$__file" && __rc=
    . "$__file"
    break
  fi
done
[ -n "$__rc" ] && [ -r "$__rc" ] && . "$__rc"
unset __file __rc
