from shop.commands.greet import Command as Greet

import async_commander as ac

Command = ac.as_management_command(Greet)
